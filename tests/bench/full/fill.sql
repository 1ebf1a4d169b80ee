-- Run by fill.py, part by part. h(x, y) is a number that looks random and depends on both.

-- @ questions
CREATE FUNCTION pg_temp.h(x bigint, y int) RETURNS int IMMUTABLE LANGUAGE sql
  AS 'SELECT hashint8(x * 1000 + y) & 2147483647';
CREATE TEMP TABLE q AS
  SELECT i AS id, s.slug, s.split, s.subject, CASE WHEN s.slug = 'pubmedqa' THEN 3 ELSE 4 END AS options,
    mod(pg_temp.h(i, 1), CASE WHEN s.slug = 'pubmedqa' THEN 3 ELSE 4 END) AS key,
    (SELECT count(*) FROM unnest(%(cumulative)s::float8[]) c WHERE c <= mod(pg_temp.h(i, 2), 10000) / 10000.0)::int AS drawn
  FROM split s CROSS JOIN LATERAL generate_series(s.first, s.last) i;
INSERT INTO questions_question (id, uid, benchmark_id, split, subject, topic, source_id, occurrence, contexts, stem, options,
  key, explanation, meta, fingerprint, stem_fingerprint, held_out, flags, blocked, created_at)
SELECT q.id, q.slug || '-' || q.split || '-' || lpad(q.id::text, 7, '0'), b.id, q.split,
  coalesce(nullif(q.subject, ''), (ARRAY['Medicine','Surgery','Pathology','Pharmacology','Anatomy','Physiology','Paediatrics'])[1 + mod(pg_temp.h(q.id, 3), 7)]),
  '', '', 0, '[]', 'Case ' || q.id || ', aged ' || 18 + mod(q.id, 70) || '. ' || stem.body,
  CASE WHEN q.options = 3 THEN '["yes", "no", "maybe"]'::jsonb
    ELSE jsonb_build_array(a.body || ' ' || q.id, b2.body, c.body || ' at once', d.body || ' and follow up') END,
  q.key, stem.body, '{}', md5('f' || q.id), md5('s' || q.id), false, '[]', false, now()
FROM q
JOIN questions_benchmark b ON b.slug = q.slug
JOIN pool stem ON stem.kind = 'stem' AND stem.n = mod(pg_temp.h(q.id, 4), %(pool)s)
JOIN pool a ON a.kind = 'option' AND a.n = mod(pg_temp.h(q.id, 5), %(pool)s)
JOIN pool b2 ON b2.kind = 'option' AND b2.n = mod(pg_temp.h(q.id, 6), %(pool)s)
JOIN pool c ON c.kind = 'option' AND c.n = mod(pg_temp.h(q.id, 7), %(pool)s)
JOIN pool d ON d.kind = 'option' AND d.n = mod(pg_temp.h(q.id, 8), %(pool)s)
ORDER BY q.id;

-- @ what each path is: answer, the judge's label, what people said of it
CREATE TEMP TABLE p AS
  SELECT x.*,
    CASE WHEN x.judge = 'error' THEN
        CASE WHEN mod(pg_temp.h(x.id, 13), 10) = 0 THEN x.key_letter ELSE x.wrong END
      WHEN mod(pg_temp.h(x.id, 14), 1000) < 6 THEN x.wrong
      WHEN mod(pg_temp.h(x.id, 14), 1000) < 16 THEN ''
      ELSE x.key_letter END AS answer,
    CASE WHEN x.said = 'flipped' THEN CASE x.judge WHEN 'correct' THEN 'error' ELSE 'correct' END ELSE x.judge END AS label
  FROM (
    SELECT (q.id - 1) * 9 + k + 1 AS id, q.id AS q, k, (ARRAY['qwen2.5-72b', 'r1-distill-70b', 'huatuogpt-o1-70b'])[k / 3 + 1] AS generator,
      mod(k, 3) + 1 AS sample, (ARRAY[0.7, 0.9, 1.0])[mod(k, 3) + 1] AS temperature,
      chr(65 + q.key) AS key_letter, chr(65 + mod(q.key + 1 + mod(pg_temp.h(q.id * 9 + k, 11), q.options - 1), q.options)) AS wrong,
      CASE WHEN mod(pg_temp.h(q.id * 9 + k, 12), 4000) = 0 THEN 'unjudged'
        WHEN mod(k + pg_temp.h(q.id, 10), 9) < q.drawn THEN 'error' ELSE 'correct' END AS judge,
      CASE WHEN mod(q.id, 400) = 7 AND k = 0 THEN 'disputed' WHEN mod(q.id, 250) = 3 AND k = 4 THEN 'flipped'
        WHEN mod(q.id, 20) = 11 AND k = 8 THEN 'alone' ELSE '' END AS said
    FROM q CROSS JOIN generate_series(0, 8) k ORDER BY 1) x;
UPDATE p SET said = '', label = judge WHERE judge = 'unjudged';
ALTER TABLE p ADD PRIMARY KEY (id);
ANALYZE p;

-- @ tiers, scores, which paths are kept
CREATE TEMP TABLE t AS
  SELECT q, errors, missing, CASE WHEN least = most THEN least END AS tier, disputed
  FROM (SELECT q, errors, missing, disputed, CASE WHEN errors <= 4 THEN 'easy' WHEN errors <= 7 THEN 'medium' ELSE 'difficult' END AS least,
      CASE WHEN errors + missing <= 4 THEN 'easy' WHEN errors + missing <= 7 THEN 'medium' ELSE 'difficult' END AS most
    FROM (SELECT q, count(*) FILTER (WHERE label = 'error') AS errors, count(*) FILTER (WHERE label = 'unjudged') AS missing,
        bool_or(said = 'disputed') AS disputed FROM p GROUP BY q) c) b;
ALTER TABLE t ADD PRIMARY KEY (q);
CREATE TEMP TABLE keepable AS
  SELECT p.id, p.q, p.generator, p.sample, t.tier, count(*) OVER w AS n,
    row_number() OVER (PARTITION BY p.q ORDER BY pg_temp.h(p.id, 20), p.id) AS place,
    row_number() OVER (PARTITION BY p.q ORDER BY sha256(convert_to(%(seed)s || ':' || p.q || ':' || p.generator || ':' || p.sample, 'UTF8'))) AS lot
  FROM p JOIN t ON t.q = p.q AND t.tier IN ('easy', 'medium')
  WHERE p.label = 'correct' AND p.answer IN ('', p.key_letter) WINDOW w AS (PARTITION BY p.q);
CREATE TEMP TABLE source AS
  SELECT id, q, generator, sample, tier, CASE WHEN n > 2 THEN place ELSE lot END AS slot,
    CASE WHEN n > 2 THEN 'ranked ' || place || ', score ' || 6 - place ELSE 'kept without ranking: no more paths than places' END AS why
  FROM keepable WHERE CASE WHEN n > 2 THEN place ELSE lot END <= 2;
CREATE TEMP TABLE made AS
  SELECT %(n)s * 9 + row_number() OVER (ORDER BY q, slot) AS id, * FROM (
    SELECT q, slot, 'refined' AS origin, id AS parent, generator, sample, why FROM source WHERE tier = 'medium'
    UNION ALL SELECT q, 1, 'regenerated', NULL, '', 1, 'regenerated from the errors of all paths' FROM t WHERE tier = 'difficult') m;
CREATE TEMP TABLE kept AS
  SELECT q, slot, id AS source, id AS path, why FROM source WHERE tier = 'easy'
  UNION ALL SELECT q, slot, parent, id, why FROM made;
ANALYZE t; ANALYZE keepable; ANALYZE made; ANALYZE kept;

-- @ calls
CREATE FUNCTION pg_temp.call(stage int, n bigint) RETURNS uuid IMMUTABLE LANGUAGE sql
  AS $$SELECT ('0000000' || stage || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid$$;
INSERT INTO pipeline_call (id, run_id, question_id, stage, item, endpoint, model, prompt, params, seed, attempt, status, error_class,
  error, excerpt, finish_reason, tokens_in, tokens_out, tokens_cached, cost, latency_ms, simulated, fingerprint, created_at)
SELECT pg_temp.call(s.no, c.n), %(run)s, c.q, s.stage, c.item, coalesce(c.generator, s.endpoint), 'sim-' || coalesce(c.generator, s.endpoint),
  (%(prompts)s::text[])[s.prompt], jsonb_build_object('temperature', 0.7, 'top_p', 0.9, 'max_tokens', 8192), hashint8(c.n), 1, 'ok', '',
  '', '', 'stop', 700 + mod(c.n, 300), 200 + mod(c.n, 500), mod(c.n, 300), CASE WHEN s.endpoint = 'writer' THEN 0.00012 * (1 + mod(c.n, 5)) ELSE 0 END,
  900 + mod(c.n, 4000), true, 'reasonmed-simulated', now() - interval '7 days' + c.n * interval '0.2 s'
FROM (SELECT 1 AS no, id AS n, q, generator || '/' || sample AS item, generator FROM p
  UNION ALL SELECT 2, id, q, 'path:' || id, NULL FROM p WHERE judge <> 'unjudged'
  UNION ALL SELECT 3, id, q, 'path:' || id, NULL FROM keepable WHERE n > 2
  UNION ALL SELECT CASE origin WHEN 'refined' THEN 4 ELSE 5 END, id, q, CASE origin WHEN 'refined' THEN 'path:' || parent ELSE 'new:1' END || '/1', NULL FROM made
  UNION ALL SELECT 6, id, q, 'path:' || id, NULL FROM made
  UNION ALL SELECT 7, path, q, 'path:' || path, NULL FROM kept) c
JOIN (VALUES (1, 'generate', NULL, 1), (2, 'verify', 'judge', 2), (3, 'rank', 'judge', 3), (4, 'refine', 'writer', 4),
  (5, 'regenerate', 'writer', 5), (6, 'reverify', 'judge', 2), (7, 'summarise', 'writer', 6)) s(no, stage, endpoint, prompt) USING (no);

-- @ paths
INSERT INTO reasoning_reasoningpath (id, run_id, question_id, origin, generator, sample, parent_id, revision, current, raw, text,
  answer, answer_how, finish_reason, model, temperature, seed, call_id, created_at)
SELECT id, %(run)s, q, origin, generator, sample, parent, 1, true,
  CASE WHEN generator LIKE 'qwen%%' THEN text ELSE '<think>' || text || '</think>' END, text, answer,
  CASE WHEN answer = '' THEN '' ELSE 'final line' END, CASE WHEN answer = '' AND mod(id, 2) = 0 THEN 'length' ELSE 'stop' END,
  'sim-' || coalesce(nullif(generator, ''), 'writer'), temperature, hashint8(id), pg_temp.call(stage, id), now()
FROM (
  SELECT n.*, s1.body || ' (path ' || n.id || ')' || E'\n\n' || s2.body || E'\n\n' || s3.body || E'\n\n' || s4.body || E'\n\n' || s5.body || E'\n\n' || s6.body ||
    CASE WHEN n.answer = '' THEN ' The next thing to' ELSE E'\n\nFinal answer: ' || n.answer END AS text
  FROM (SELECT id, q, 'generated' AS origin, generator, sample, NULL::bigint AS parent, answer, temperature, 1 AS stage FROM p
    UNION ALL SELECT m.id, m.q, m.origin, m.generator, m.sample, m.parent, chr(65 + q.key), CASE m.origin WHEN 'refined' THEN 0.8 END,
      CASE m.origin WHEN 'refined' THEN 4 ELSE 5 END FROM made m JOIN q ON q.id = m.q) n
  JOIN pool s1 ON s1.kind = 'restate' AND s1.n = mod(pg_temp.h(n.id, 31), %(pool)s)
  JOIN pool s2 ON s2.kind = 'findings' AND s2.n = mod(pg_temp.h(n.id, 32), %(pool)s)
  JOIN pool s3 ON s3.kind = 'options' AND s3.n = mod(pg_temp.h(n.id, 33), %(pool)s)
  JOIN pool s4 ON s4.kind = 'exclude' AND s4.n = mod(pg_temp.h(n.id, 34), %(pool)s)
  JOIN pool s5 ON s5.kind = 'compare' AND s5.n = mod(pg_temp.h(n.id, 35), %(pool)s)
  JOIN pool s6 ON s6.kind = 'conclude' AND s6.n = mod(pg_temp.h(n.id, 36), %(pool)s)) x;

-- @ the judge's verdicts
INSERT INTO reasoning_verdict (path_id, run_id, source, round, label, correctness, coherence, factuality, reason, details, counts,
  current, call_id, created_at)
SELECT n.id, %(run)s, 'judge', 1, n.judge, n.judge = 'correct' OR mod(n.id, 3) > 0, true, n.judge = 'correct' OR mod(n.id, 3) = 0,
  r.body || ' (path ' || n.id || ')', '{}', true, true, pg_temp.call(n.stage, n.id), now() - interval '5 days' + n.id * interval '0.2 s'
FROM (SELECT id, judge, 2 AS stage FROM p WHERE judge <> 'unjudged' UNION ALL SELECT id, 'correct', 6 FROM made) n
JOIN pool r ON r.kind = 'reason' AND r.n = mod(pg_temp.h(n.id, 40), %(pool)s);

-- @ outputs set aside
INSERT INTO pipeline_failure (run_id, question_id, stage, item, error_class, message, created_at)
SELECT %(run)s, q, 'verify', 'path:' || id, 'schema', 'The verdict does not agree with its axes.', now() FROM p WHERE judge = 'unjudged';

-- @ people's verdicts that count: two against the judge, two who disagree, one alone
INSERT INTO reasoning_verdict (path_id, project_id, source, round, reviewer_id, label, correctness, coherence, factuality, reason,
  details, counts, current, created_at)
SELECT p.id, %(project)s, 'person', 1, who, l, l = 'correct', true, true, 'As I read it, ' || r.body, '{}', true, true, now()
FROM p CROSS JOIN LATERAL (VALUES (%(anna)s, CASE p.judge WHEN 'correct' THEN 'error' ELSE 'correct' END),
    (%(ben)s, CASE WHEN p.said = 'disputed' THEN p.judge WHEN p.said = 'flipped' THEN CASE p.judge WHEN 'correct' THEN 'error' ELSE 'correct' END END)) v(who, l)
JOIN pool r ON r.kind = 'reason' AND r.n = mod(pg_temp.h(p.id, 41), %(pool)s)
WHERE p.said <> '' AND l IS NOT NULL;

-- @ effective labels
INSERT INTO reasoning_pathlabel (run_id, path_id, question_id, label, source, judge_label, contradiction, overridden, disputed)
SELECT %(run)s, id, q, label, CASE WHEN said = 'flipped' THEN 'person' WHEN judge = 'unjudged' THEN '' ELSE 'judge' END,
  CASE judge WHEN 'unjudged' THEN '' ELSE judge END, said <> 'flipped' AND judge = 'correct' AND answer NOT IN ('', key_letter),
  said = 'flipped', said = 'disputed' FROM p
UNION ALL SELECT %(run)s, id, q, 'correct', 'judge', 'correct', false, false, false FROM made;

-- @ scores
INSERT INTO reasoning_rankscore (run_id, path_id, score, justification, call_id, created_at)
SELECT %(run)s, k.id, greatest(6 - k.place, 1), r.body, pg_temp.call(3, k.id), now()
FROM keepable k JOIN pool r ON r.kind = 'reason' AND r.n = mod(pg_temp.h(k.id, 42), %(pool)s) WHERE k.n > 2;

-- @ choices
INSERT INTO reasoning_selection (run_id, question_id, slot, source_id, path_id, why, current, created_at)
SELECT %(run)s, q, slot, source, path, why, true, now() FROM kept ORDER BY path;

-- @ responses
INSERT INTO reasoning_response (run_id, path_id, revision, current, text, answer, call_id, created_at)
SELECT %(run)s, k.path, 1, true, r.body || E'\n\nAnswer: ' || chr(65 + q.key), chr(65 + q.key), pg_temp.call(7, k.path), now()
FROM kept k JOIN q ON q.id = k.q JOIN pool r ON r.kind = 'response' AND r.n = mod(pg_temp.h(k.path, 43), %(pool)s) ORDER BY k.path;

-- @ questions in the run
INSERT INTO reasoning_runquestion (run_id, question_id, benchmark_id, state, reason, pattern, answers, error_count, tier, hold,
  contradictions, overridden, disputed, records, cost, version, changed_at)
SELECT %(run)s, t.q, b.id, CASE WHEN s.reason = '' THEN 'ready' WHEN s.reason = 'no_rankable_path' THEN 'excluded' ELSE 'waiting' END, s.reason,
  g.pattern, g.answers, CASE WHEN t.tier IS NOT NULL THEN t.errors END, coalesce(t.tier, ''), false, g.contradictions, g.overridden,
  t.disputed, CASE WHEN s.reason = '' THEN k.n ELSE 0 END, coalesce(c.cost, 0), 9, now()
FROM t JOIN q ON q.id = t.q JOIN questions_benchmark b ON b.slug = q.slug
JOIN (SELECT q, string_agg(CASE WHEN said = 'disputed' THEN 'D' WHEN label = 'correct' THEN 'C' WHEN label = 'error' THEN 'E' ELSE 'U' END, '' ORDER BY k) AS pattern,
    string_agg(coalesce(nullif(answer, ''), '-'), '' ORDER BY k) AS answers, bool_or(said = 'flipped') AS overridden,
    count(*) FILTER (WHERE said <> 'flipped' AND judge = 'correct' AND answer NOT IN ('', key_letter)) AS contradictions
  FROM p GROUP BY q) g USING (q)
LEFT JOIN (SELECT q, count(*) AS n FROM kept GROUP BY q) k USING (q)
LEFT JOIN (SELECT question_id AS q, sum(cost) AS cost FROM pipeline_call WHERE run_id = %(run)s GROUP BY 1) c USING (q)
CROSS JOIN LATERAL (SELECT CASE WHEN t.disputed THEN 'disputed' WHEN t.tier IS NULL THEN 'unjudged' WHEN k.n IS NULL THEN 'no_rankable_path' ELSE '' END AS reason) s
ORDER BY t.q;

-- @ tasks
INSERT INTO pipeline_task (run_id, lane, unit_type, unit_id, state, wanted, seen, attempts, last_error)
SELECT %(run)s, lane, 'question', q, 'idle', 9, 9, 0, '' FROM t CROSS JOIN unnest(%(lanes)s::text[]) lane
WHERE lane LIKE 'generate%%' OR lane LIKE 'verify%%' OR (lane LIKE 'rank%%' AND tier IN ('easy', 'medium')) OR (lane LIKE 'refine%%' AND tier = 'medium')
  OR (lane LIKE 'regenerate%%' AND tier = 'difficult') OR (lane LIKE 'reverify%%' AND tier IN ('medium', 'difficult')) OR lane LIKE 'summarise%%'
ORDER BY q;

-- @ counters and money
INSERT INTO reasoning_runcounter (run_id, key, shard, value) SELECT %(run)s, key, 0, sum(n) FROM (
  SELECT 'questions' AS key, count(*) AS n FROM reasoning_runquestion
  UNION ALL SELECT 'state:' || state || ':' || reason, count(*) FROM reasoning_runquestion GROUP BY 1
  UNION ALL SELECT 'benchmark:' || benchmark_id || ':' || state, count(*) FROM reasoning_runquestion GROUP BY 1
  UNION ALL SELECT 'tier:' || tier, count(*) FROM reasoning_runquestion WHERE tier <> '' GROUP BY 1
  UNION ALL SELECT 'errors:' || error_count, count(*) FROM reasoning_runquestion WHERE tier <> '' GROUP BY 1
  UNION ALL SELECT 'contradictions', sum(contradictions) FROM reasoning_runquestion
  UNION ALL SELECT 'overridden', count(*) FILTER (WHERE overridden) FROM reasoning_runquestion
  UNION ALL SELECT 'disputed', count(*) FILTER (WHERE disputed) FROM reasoning_runquestion
  UNION ALL SELECT 'records', sum(records) FROM reasoning_runquestion
  UNION ALL SELECT 'cost_e8:tier:' || coalesce(nullif(tier, ''), 'none'), sum(cost * 100000000) FROM reasoning_runquestion GROUP BY 1
  UNION ALL SELECT 'labels:' || label, count(*) FROM p GROUP BY 1
  UNION ALL SELECT 'paths:' || origin, count(*) FROM reasoning_reasoningpath GROUP BY 1
  UNION ALL SELECT unnest(ARRAY['calls', 'calls:' || stage, 'calls:' || stage || '@' || endpoint, 'stage:' || stage,
      'cost_e8', 'cost_e8:stage:' || stage, 'cost_e8:endpoint:' || endpoint, 'tokens_in:' || endpoint, 'tokens_out:' || endpoint, 'tokens_cached:' || endpoint]),
    unnest(ARRAY[n, n, n, n, e8, e8, e8, came, went, cached])
  FROM (SELECT stage, endpoint, count(*) AS n, sum(cost * 100000000)::bigint AS e8, sum(tokens_in) AS came, sum(tokens_out) AS went,
    sum(tokens_cached) AS cached FROM pipeline_call GROUP BY 1, 2) c
) x GROUP BY key HAVING sum(n) <> 0;
UPDATE pipeline_runbudget SET spent = (SELECT coalesce(sum(cost), 0) FROM pipeline_call);

-- @ a queue that measures, judged by two
CREATE TEMP TABLE judged AS
  SELECT row_number() OVER (ORDER BY pg_temp.h(id, 50), id) AS position, id AS path, q, judge FROM p
  WHERE judge <> 'unjudged' ORDER BY pg_temp.h(id, 50), id LIMIT %(judged)s;
INSERT INTO review_queueitem (queue_id, path_id, question_id, position, stratum, inclusion_probability, priority, gold_label,
  gold_reason, taken, done, set_aside, open)
SELECT %(queue)s, path, q, position, 'all', %(judged)s::float8 / (%(n)s * 9), 0, '', '', 2, 2, false, false FROM judged ORDER BY position;
INSERT INTO review_claim (item_id, reviewer_id, token, state, slot, version, claimed_at, expires_at, finished_at, revealed_at, kept_at)
SELECT i.id, w.who, gen_random_uuid(), 'judged', w.slot, 1, x.at - interval '1 minute', x.at, x.at, x.at, x.at
FROM review_queueitem i CROSS JOIN (VALUES (1, %(anna)s), (2, %(ben)s)) w(slot, who)
CROSS JOIN LATERAL (SELECT now() - interval '3 days' + i.position * interval '30 s' AS at) x WHERE i.queue_id = %(queue)s;
INSERT INTO reasoning_verdict (path_id, project_id, source, round, reviewer_id, label, correctness, coherence, factuality, reason,
  details, counts, current, created_at)
SELECT j.path, %(project)s, 'person', 1, c.reviewer_id, l.label, l.label = 'correct', true, true, 'Weighed every option.',
  jsonb_build_object('queue', %(queue)s, 'item', i.id), false, true, c.finished_at
FROM review_claim c JOIN review_queueitem i ON i.id = c.item_id JOIN judged j ON j.path = i.path_id
CROSS JOIN LATERAL (SELECT CASE WHEN mod(pg_temp.h(j.path, 60 + c.slot), 10) > 0 THEN j.judge WHEN j.judge = 'correct' THEN 'error' ELSE 'correct' END AS label) l;
INSERT INTO review_judgment (verdict_id, item_id, claim_id, reviewer_id, round, phase, blind, active_ms, reasons, harm, sentences,
  comment, flagged, created_at)
SELECT v.id, i.id, c.id, c.reviewer_id, 1, 'first', true, 20000 + mod(v.id, 40000), '[]', '', '[]', '', false, c.finished_at
FROM reasoning_verdict v JOIN review_queueitem i ON i.id = (v.details ->> 'item')::bigint
JOIN review_claim c ON c.item_id = i.id AND c.reviewer_id = v.reviewer_id WHERE v.source = 'person' AND v.details ? 'item';

-- @ what triggers would have counted
INSERT INTO review_queuecount (queue_id, shard, judgments, finished, set_aside)
SELECT queue_id, 0, sum(done), count(*) FILTER (WHERE NOT open AND NOT set_aside), count(*) FILTER (WHERE set_aside)
FROM review_queueitem GROUP BY queue_id;

-- @ sequences
SELECT setval(pg_get_serial_sequence('questions_question', 'id'), max(id)) FROM questions_question;
SELECT setval(pg_get_serial_sequence('reasoning_reasoningpath', 'id'), max(id)) FROM reasoning_reasoningpath;
