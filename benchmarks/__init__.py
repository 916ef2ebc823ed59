"""What measures egowm, and what draws the tables in its documentation."""
