"""Who is chosen: units, pools, shares, amounts and the one `choose`."""
