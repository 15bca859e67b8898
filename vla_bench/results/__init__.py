"""Recorded results: the ledger of episodes, run descriptions, statistics, tables, figures and report pages.

Import from the modules: `ledger` and `run_info` hold what an evaluation writes, `leaderboard` and the other tables
and pages are computed from them.
"""
