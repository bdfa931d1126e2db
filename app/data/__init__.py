"""What pages read: runs and their journals as plain data, and the command line."""
