"""Two trees -> what a change would really do, for people and for CI.

`compare` judges both commits and finds what differs, `review` says what that means for agents and budgets, `replay`
asks the log what the limits would have done last week; `text` and `markdown` write it down. Nothing here writes
anything anywhere, and no manifest's text reaches a terminal or a page unescaped.
"""
