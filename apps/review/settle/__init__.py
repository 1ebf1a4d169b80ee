"""Pages of adjudicators: what two people disagree on, and questions that someone says are not sound."""
