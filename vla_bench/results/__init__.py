"""How policies did: the ledger of episodes, run descriptions, statistics, tables, figures and report pages.

Import from the modules: `ledger` and `run_info` (what an evaluation writes), `leaderboard` (what is made of it).
"""
