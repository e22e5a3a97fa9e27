-- What the dashboards read: the hourly aggregates with the marks of their hour and the weights of their sample.
-- An hour that coverage knows and that has no tweets is a row of zeros, so that a gap can be seen.
-- A mark of change compares an hour with the last one before it that has tweets, of its day or the day before:
-- it stands where something is in force that was not in force then.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   hour timestamp(3): The hour, UTC
--   topic varchar: The topic
--   lang varchar: The language that X names; und where it names none, empty in an hour without tweets
--   country_code varchar: Country of the place, ISO 3166-1 alpha-2; -- where the tweet has none
--   measured integer: 1 if the models that labeled were measured on this language, else 0; 1 in an hour without tweets
--   sample integer: Percentage of the matching posts then streamed, 1 to 100
--   rule_hash varchar: Digest of the rules then in force
--   engine varchar: The model that labeled, or none where none was asked
--   translation_engine varchar: The model that translated, or none
--   tweets bigint: Labeled rows
--   judged bigint: Those of them that have a sentiment
--   negative bigint: Those of them that are negative
--   neutral bigint: Those of them that are neutral
--   positive bigint: Those of them that are positive
--   score_sum double: Sum of the scores of the judged rows
--   compared bigint: Judged rows for which the champion has a prediction
--   agreed bigint: Those of them for which it predicts the same sentiment
--   model varchar: The champion that predicted, such as v3; empty where none has
--   gap integer: 0 if coverage says that the topic's hour is whole; 1 if it says otherwise, or has not judged it
--   verdict varchar: What coverage says of the topic's hour; empty where it has not judged it
--   change varchar: What is new in the topic's hour: rules, sample, models, joined by commas; empty if nothing
--   weight double: Posts that one row stands for: 100 / sample
--   weighted_negative double: Negative rows, each by its weight
--   weighted_neutral double: Neutral rows, each by its weight
--   weighted_positive double: Positive rows, each by its weight
--   weighted_judged double: Judged rows, each by its weight
--   weight_squares double: Sum of the squared weights of the judged rows; the effective number of rows is
--     the square of the sum of weighted_judged, divided by the sum of this
WITH verdicts AS (
  SELECT
    dt,
    topic,
    CAST(from_iso8601_timestamp(concat(hour, ':00:00Z')) AS timestamp(3)) AS hour,
    verdict,
    CASE WHEN verdict IN (${whole}) THEN 0 ELSE 1 END AS gap
  FROM coverage
),
methods AS (
  SELECT
    dt,
    topic,
    hour,
    array_agg(DISTINCT rule_hash) FILTER (WHERE rule_hash <> '') AS rules,
    array_agg(DISTINCT sample) AS samples,
    array_agg(DISTINCT engine) FILTER (WHERE engine <> 'none') AS engines,
    -- Single tweets can stay untranslated without any change of models.
    coalesce(
      array_agg(DISTINCT translation_engine) FILTER (
        WHERE translation_engine <> 'none' AND engine <> 'none' AND lang <> 'en'
      ),
      array_agg(DISTINCT translation_engine) FILTER (WHERE engine <> 'none' AND lang <> 'en')
    ) AS translators
  FROM opinion_hourly
  GROUP BY dt, topic, hour
),
-- Each hour twice, for its own day and for the next, so that a statement about some days reads no others.
looked_back AS (
  SELECT dt AS day, * FROM methods
  UNION ALL
  SELECT date_format(date_add('day', 1, date(dt)), '%Y-%m-%d') AS day, * FROM methods
),
changes AS (
  SELECT
    day,
    dt,
    topic,
    hour,
    array_join(
      ARRAY[
        CASE WHEN cardinality(array_except(rules, lag(rules) IGNORE NULLS OVER before)) > 0 THEN 'rules' END,
        CASE WHEN cardinality(array_except(samples, lag(samples) IGNORE NULLS OVER before)) > 0 THEN 'sample' END,
        CASE
          WHEN cardinality(array_except(engines, lag(engines) IGNORE NULLS OVER before)) > 0 THEN 'models'
          WHEN cardinality(array_except(translators, lag(translators) IGNORE NULLS OVER before)) > 0 THEN 'models'
        END
      ],
      ','
    ) AS change
  FROM looked_back
  WINDOW before AS (PARTITION BY topic, day ORDER BY hour)
),
counts AS (
  SELECT
    dt,
    hour,
    topic,
    lang,
    country_code,
    measured,
    sample,
    rule_hash,
    engine,
    translation_engine,
    tweets,
    judged,
    negative,
    neutral,
    positive,
    score_sum,
    compared,
    agreed,
    model
  FROM opinion_hourly
  UNION ALL
  SELECT
    verdicts.dt,
    verdicts.hour,
    verdicts.topic,
    '',
    '--',
    1,
    100,
    '',
    'none',
    'none',
    0,
    0,
    0,
    0,
    0,
    0e0,
    0,
    0,
    ''
  FROM verdicts
  LEFT JOIN methods ON methods.dt = verdicts.dt AND methods.topic = verdicts.topic AND methods.hour = verdicts.hour
  WHERE methods.hour IS NULL
)
SELECT
  counts.dt,
  counts.hour,
  counts.topic,
  counts.lang,
  counts.country_code,
  counts.measured,
  counts.sample,
  counts.rule_hash,
  counts.engine,
  counts.translation_engine,
  counts.tweets,
  counts.judged,
  counts.negative,
  counts.neutral,
  counts.positive,
  counts.score_sum,
  counts.compared,
  counts.agreed,
  counts.model,
  coalesce(verdicts.gap, 1) AS gap,
  coalesce(verdicts.verdict, '') AS verdict,
  coalesce(changes.change, '') AS change,
  1e2 / counts.sample AS weight,
  1e2 / counts.sample * counts.negative AS weighted_negative,
  1e2 / counts.sample * counts.neutral AS weighted_neutral,
  1e2 / counts.sample * counts.positive AS weighted_positive,
  1e2 / counts.sample * counts.judged AS weighted_judged,
  1e4 / counts.sample / counts.sample * counts.judged AS weight_squares
FROM counts
LEFT JOIN verdicts
  ON verdicts.dt = counts.dt AND verdicts.topic = counts.topic AND verdicts.hour = counts.hour
LEFT JOIN changes
  ON changes.day = counts.dt AND changes.dt = counts.dt
  AND changes.topic = counts.topic AND changes.hour = counts.hour
