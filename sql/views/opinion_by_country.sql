-- Opinion by topic, day and country of the place, corrected for the sample in force, as the model counts:
-- the intervals know the sampling error only, at 95 %, and not the model's errors (opinion and docs/truth.md do).
-- Weights, effective n and intervals are those of opinion_by_hour.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   topic varchar: The topic
--   country_code varchar: Country of the place, ISO 3166-1 alpha-2; -- where the tweets have none
--   tweets bigint: Labeled rows
--   judged bigint: Those of them that have a sentiment by a model that was measured on their language
--   left_out bigint: Rows with a sentiment that count in no ratio, as their language was never measured
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
    country_code,
    sum(tweets) AS tweets,
    coalesce(sum(judged) FILTER (WHERE measured = 1), 0) AS judged,
    coalesce(sum(judged) FILTER (WHERE measured = 0), 0) AS left_out,
    sum(weighted_negative) FILTER (WHERE measured = 1) AS negative,
    sum(weighted_neutral) FILTER (WHERE measured = 1) AS neutral,
    sum(weighted_positive) FILTER (WHERE measured = 1) AS positive,
    sum(weighted_judged) FILTER (WHERE measured = 1) AS whole,
    sum(weight_squares) FILTER (WHERE measured = 1) AS squares
  FROM opinion
  WHERE tweets > 0
  GROUP BY dt, topic, country_code
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
  intervals.country_code,
  tweets,
  judged,
  left_out,
  ${fragments/interval_columns},
  marks.gap_hours,
  coalesce(marks.change, '') AS change
FROM intervals
JOIN marks ON marks.dt = intervals.dt AND marks.topic = intervals.topic
