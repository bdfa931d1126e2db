"""Parts of pages: figures with their controls."""
