"""Who arrives by planning, and what a plan costs."""
