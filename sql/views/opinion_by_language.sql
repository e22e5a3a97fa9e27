-- Opinion by topic, day and language, corrected for the sample in force, as the model counts:
-- the intervals know the sampling error only, at 95 %, and not the model's errors (opinion and docs/truth.md do).
-- Languages that were never measured stand here too, marked as such: leave them out of comparisons.
-- Weights, effective n and intervals are those of opinion_by_hour.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   topic varchar: The topic
--   lang varchar: The language that X names; und where it names none
--   measured integer: 1 if the sentiment model was measured on this language, else 0
--   tweets bigint: Labeled rows
--   judged bigint: Those of them that have a sentiment
--   n double: Effective number of judged rows
--   negative_share double: Negative among the judged, corrected for the sample, 0 to 1
--   negative_low double: Lower end of its interval
--   negative_high double: Upper end of its interval
--   neutral_share double: Neutral among the judged, corrected for the sample, 0 to 1
--   neutral_low double: Lower end of its interval
--   neutral_high double: Upper end of its interval
--   positive_share double: Positive among the judged, corrected for the sample, 0 to 1
--   positive_low double: Lower end of its interval
--   positive_high double: Upper end of its interval
--   net double: Positive less negative share, -1 to 1
--   net_low double: Lower end of its interval
--   net_high double: Upper end of its interval
--   ratio double: Positive to negative; null without negative rows
--   ratio_low double: Lower end of its interval
--   ratio_high double: Upper end of its interval; null, so without bound, without negative rows
--   gap_hours bigint: Hours of the topic's day that are not whole, as coverage says
--   change varchar: What was new in the topic's day: models, rules, sample, joined by commas; empty if nothing
WITH sums AS (
  SELECT
    dt,
    topic,
    lang,
    measured,
    sum(tweets) AS tweets,
    coalesce(sum(judged), 0) AS judged,
    sum(weighted_negative) AS negative,
    sum(weighted_neutral) AS neutral,
    sum(weighted_positive) AS positive,
    sum(weighted_judged) AS whole,
    sum(weight_squares) AS squares
  FROM opinion
  WHERE tweets > 0
  GROUP BY dt, topic, lang, measured
),
marks AS (
  SELECT
    dt,
    topic,
    count(DISTINCT hour) FILTER (WHERE gap = 1) AS gap_hours,
    array_join(array_sort(array_distinct(flatten(array_agg(split(nullif(change, ''), ','))))), ',') AS change
  FROM opinion
  GROUP BY dt, topic
),
${fragments/intervals}
SELECT
  intervals.dt,
  intervals.topic,
  intervals.lang,
  intervals.measured,
  tweets,
  judged,
  ${fragments/interval_columns},
  marks.gap_hours,
  coalesce(marks.change, '') AS change
FROM intervals
JOIN marks ON marks.dt = intervals.dt AND marks.topic = intervals.topic
