"""SIRENs, tilings and channel tuning: what a fitted function is made of."""
