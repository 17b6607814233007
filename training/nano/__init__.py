"""Data, training and export of lark-nano, the small model that ships with Larkstream."""
