"""What people see: a Streamlit dashboard that reads runs and writes decisions and commands."""

import sys
from pathlib import Path

# Streamlit searches the folder of its script first. A package of the user's may be called like a part of it:
# data, charts.
HERE = Path(__file__).resolve().parent
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != HERE]
