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
--   gap integer: 0 if coverage says that the topic's hour is whole, or if all that it missed has been labeled
--     since; 1 if it says otherwise, or has not judged it
--   counted integer: 0 while the topic's hour is open or is being labeled, and where a gap has left nothing of it;
--     else 1
--   searched integer: 1 if search alone brought the topic's hour, else 0
--   verdict varchar: What coverage says of the topic's hour; empty where it has not judged it
--   change varchar: What is new in the topic's hour: rules, sample, models, joined by commas; empty if nothing
--   weight double: Posts that one row stands for: 100 / sample
--   weighted_negative double: Negative rows, each by its weight
--   weighted_neutral double: Neutral rows, each by its weight
--   weighted_positive double: Positive rows, each by its weight
--   weighted_judged double: Judged rows, each by its weight
--   weight_squares double: Sum of the squared weights of the judged rows; the effective number of rows is
--     the square of the sum of weighted_judged, divided by the sum of this
--   audited double: weighted_judged, where the topic's audit of the month rectifies the row; else 0
--   rectified_negative double: weighted_negative as the audit rectifies it; 0 where audited is 0, as those below
--   rectified_positive double: weighted_positive as the audit rectifies it
--   error_negative double: weighted_judged, times the standard error of what the audit adds to the share
--     of negative rows
--   error_positive double: The same for the share of positive rows
--   error_net double: The same for the net
--   language_audited double: As audited, by the audit of the row's language where it has 30 tweets, and else the
--     topic's
--   language_borrowed double: The part of language_audited by the topic's audit
--   language_rectified_negative double: As rectified_negative, by that audit
--   language_rectified_positive double: As rectified_positive, by that audit
--   language_error_negative double: As error_negative, by that audit
--   language_error_positive double: As error_positive, by that audit
--   language_error_net double: As error_net, by that audit
--   country_audited double: As audited, by the audit of the row's country where it has 30 tweets, and else the
--     topic's
--   country_borrowed double: The part of country_audited by the topic's audit
--   country_rectified_negative double: As rectified_negative, by that audit
--   country_rectified_positive double: As rectified_positive, by that audit
--   country_error_negative double: As error_negative, by that audit
--   country_error_positive double: As error_positive, by that audit
--   country_error_net double: As error_net, by that audit
WITH verdicts AS (
  SELECT
    dt,
    topic,
    CAST(from_iso8601_timestamp(concat(hour, ':00:00Z')) AS timestamp(3)) AS hour,
    verdict,
    CASE WHEN verdict IN (${whole}) THEN 1 ELSE 0 END AS whole,
    CASE WHEN verdict IN (${under_way}) THEN 1 ELSE 0 END AS under_way,
    raw_ids - quarantined AS due,
    CASE WHEN raw_ids > 0 AND recovered >= raw_ids THEN 1 ELSE 0 END AS searched
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
    model,
    p_negative_sum,
    p_positive_sum
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
    '',
    0e0,
    0e0
  FROM verdicts
  LEFT JOIN methods ON methods.dt = verdicts.dt AND methods.topic = verdicts.topic AND methods.hour = verdicts.hour
  WHERE methods.hour IS NULL
),
-- A verdict is as old as its measurement. Labels of all tweets that it knew of outdate one that waits for labels,
-- once the hour is over.
states AS (
  SELECT
    verdicts.dt,
    verdicts.topic,
    verdicts.hour,
    verdicts.verdict,
    verdicts.searched,
    verdicts.whole,
    verdicts.under_way,
    CASE
      WHEN verdicts.under_way = 1 AND totals.tweets >= verdicts.due
        AND date_add('hour', 1, verdicts.hour) <= CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp(3)) THEN 1
      ELSE 0
    END AS caught_up
  FROM verdicts
  LEFT JOIN (
    SELECT dt, topic, hour, sum(tweets) AS tweets FROM opinion_hourly GROUP BY dt, topic, hour
  ) AS totals
    ON totals.dt = verdicts.dt AND totals.topic = verdicts.topic AND totals.hour = verdicts.hour
),
-- An audit of fewer than 30 tweets rectifies nothing.
rectifiers AS (
  SELECT
    dt AS month,
    topic,
    engine,
    map_agg(
      concat(scope, ':', member),
      CAST(
        ROW(
          negative_slope,
          negative_offset,
          negative_error,
          positive_slope,
          positive_offset,
          positive_error,
          net_error
        ) AS ROW(
          negative_slope double,
          negative_offset double,
          negative_error double,
          positive_slope double,
          positive_offset double,
          positive_error double,
          net_error double
        )
      )
    ) AS of_member
  FROM audit_rectifiers
  WHERE audited >= 30
  GROUP BY dt, topic, engine
),
-- The topic's audit is of the languages that the model was measured on, and rectifies no other.
chosen AS (
  SELECT
    counts.*,
    1e2 / counts.sample AS weight,
    CASE WHEN counts.measured = 1 THEN element_at(rectifiers.of_member, 'topic:') END AS of_topic,
    element_at(rectifiers.of_member, concat('language:', counts.lang)) AS own_language,
    CASE
      WHEN counts.measured = 1 THEN element_at(rectifiers.of_member, concat('country:', counts.country_code))
    END AS own_country
  FROM counts
  LEFT JOIN rectifiers
    ON rectifiers.month = concat(substr(counts.dt, 1, 7), '-01')
    AND rectifiers.topic = counts.topic
    AND rectifiers.engine = counts.engine
    AND counts.p_negative_sum IS NOT NULL
),
rectified AS (
  SELECT
    *,
    coalesce(own_language, of_topic) AS of_language,
    coalesce(own_country, of_topic) AS of_country
  FROM chosen
)
SELECT
  rectified.dt,
  rectified.hour,
  rectified.topic,
  rectified.lang,
  rectified.country_code,
  rectified.measured,
  rectified.sample,
  rectified.rule_hash,
  rectified.engine,
  rectified.translation_engine,
  rectified.tweets,
  rectified.judged,
  rectified.negative,
  rectified.neutral,
  rectified.positive,
  rectified.score_sum,
  rectified.compared,
  rectified.agreed,
  rectified.model,
  CASE WHEN coalesce(states.whole, 0) = 1 OR states.caught_up = 1 THEN 0 ELSE 1 END AS gap,
  CASE
    WHEN states.under_way = 1 AND states.caught_up = 0 THEN 0
    WHEN rectified.tweets = 0 AND coalesce(states.whole, 0) = 0 THEN 0
    ELSE 1
  END AS counted,
  coalesce(states.searched, 0) AS searched,
  coalesce(states.verdict, '') AS verdict,
  coalesce(changes.change, '') AS change,
  rectified.weight,
  1e2 / rectified.sample * rectified.negative AS weighted_negative,
  1e2 / rectified.sample * rectified.neutral AS weighted_neutral,
  1e2 / rectified.sample * rectified.positive AS weighted_positive,
  1e2 / rectified.sample * rectified.judged AS weighted_judged,
  1e4 / rectified.sample / rectified.sample * rectified.judged AS weight_squares,
  CASE WHEN of_topic IS NULL THEN 0e0 ELSE weight * judged END AS audited,
  coalesce(weight * (of_topic.negative_slope * p_negative_sum + of_topic.negative_offset * judged), 0e0) AS rectified_negative,
  coalesce(weight * (of_topic.positive_slope * p_positive_sum + of_topic.positive_offset * judged), 0e0) AS rectified_positive,
  coalesce(weight * judged * of_topic.negative_error, 0e0) AS error_negative,
  coalesce(weight * judged * of_topic.positive_error, 0e0) AS error_positive,
  coalesce(weight * judged * of_topic.net_error, 0e0) AS error_net,
  CASE WHEN of_language IS NULL THEN 0e0 ELSE weight * judged END AS language_audited,
  CASE WHEN own_language IS NULL AND of_language IS NOT NULL THEN weight * judged ELSE 0e0 END AS language_borrowed,
  coalesce(weight * (of_language.negative_slope * p_negative_sum + of_language.negative_offset * judged), 0e0) AS language_rectified_negative,
  coalesce(weight * (of_language.positive_slope * p_positive_sum + of_language.positive_offset * judged), 0e0) AS language_rectified_positive,
  coalesce(weight * judged * of_language.negative_error, 0e0) AS language_error_negative,
  coalesce(weight * judged * of_language.positive_error, 0e0) AS language_error_positive,
  coalesce(weight * judged * of_language.net_error, 0e0) AS language_error_net,
  CASE WHEN of_country IS NULL THEN 0e0 ELSE weight * judged END AS country_audited,
  CASE WHEN own_country IS NULL AND of_country IS NOT NULL THEN weight * judged ELSE 0e0 END AS country_borrowed,
  coalesce(weight * (of_country.negative_slope * p_negative_sum + of_country.negative_offset * judged), 0e0) AS country_rectified_negative,
  coalesce(weight * (of_country.positive_slope * p_positive_sum + of_country.positive_offset * judged), 0e0) AS country_rectified_positive,
  coalesce(weight * judged * of_country.negative_error, 0e0) AS country_error_negative,
  coalesce(weight * judged * of_country.positive_error, 0e0) AS country_error_positive,
  coalesce(weight * judged * of_country.net_error, 0e0) AS country_error_net
FROM rectified
LEFT JOIN states
  ON states.dt = rectified.dt AND states.topic = rectified.topic AND states.hour = rectified.hour
LEFT JOIN changes
  ON changes.day = rectified.dt AND changes.dt = rectified.dt
  AND changes.topic = rectified.topic AND changes.hour = rectified.hour
