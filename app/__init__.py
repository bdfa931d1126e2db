"""What people see: a Streamlit dashboard that reads runs and writes decisions and commands."""
