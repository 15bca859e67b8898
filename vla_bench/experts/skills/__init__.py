"""Skills that reach one goal predicate each, a module a skill.

Every decision follows from the world as it is now, so a skill recovers from disturbance by itself: a thing that is
dropped is picked up again.
"""

from vla_bench.experts.skills.skill import Action, Skill, skills

__all__ = ["Action", "Skill", "skills"]
