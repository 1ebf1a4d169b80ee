"""The database itself refuses an adjudication by someone whose own verdict on the path is in dispute.

The advisory lock makes two such inserts on one path wait for each other, so that neither overlooks the other.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION review_adjudicator_is_no_author() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(724017, (NEW.path_id % 2147483647)::int);
  IF EXISTS (
    SELECT 1 FROM reasoning_verdict v
    WHERE v.path_id = NEW.path_id AND v.project_id = NEW.project_id AND v.reviewer_id = NEW.reviewer_id
      AND v.current AND v.label <> 'unjudged'
      AND ((NEW.source = 'adjudication' AND v.source = 'person')
        OR (NEW.source = 'person' AND NEW.counts AND v.source = 'adjudication'))
  ) THEN
    RAISE EXCEPTION 'adjudicator % is an author of a verdict on path %', NEW.reviewer_id, NEW.path_id
      USING ERRCODE = 'check_violation', CONSTRAINT = 'verdict_adjudicator_is_no_author';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER verdict_adjudicator_is_no_author BEFORE INSERT ON reasoning_verdict
FOR EACH ROW WHEN (NEW.source <> 'judge' AND NEW.label <> 'unjudged' AND NEW.current)
EXECUTE FUNCTION review_adjudicator_is_no_author();
"""
DROP = """
DROP TRIGGER verdict_adjudicator_is_no_author ON reasoning_verdict;
DROP FUNCTION review_adjudicator_is_no_author();
"""


class Migration(migrations.Migration):
    dependencies = [("review", "0001_queues"), ("reasoning", "0005_take_back_and_measure")]

    operations = [migrations.RunSQL(CREATE, DROP)]
