"""Who runs what where, and what is kept when something fails."""

from lrbench.execute.run import Session, Summary, carry_out, make_plan, make_session, prepare, run

__all__ = ["Session", "Summary", "carry_out", "make_plan", "make_session", "prepare", "run"]
