"""States that depend on data: their importance is measured on calibration sequences."""
