-- Opinion by topic and hour, corrected for the sample in force, as the model counts:
-- the intervals know the sampling error only, at 95 %, and not the model's errors (opinion and docs/truth.md do).
--
-- Weights: a row stands for 100 / sample posts. The effective n is (sum w)^2 / sum w^2 (Kish, Survey Sampling,
-- 1965); shares have Wilson's score interval with it (Wilson, JASA 22, 1927), as Franco et al. recommend for
-- weighted samples (Journal of Survey Statistics and Methodology 7, 2019). The ratio is the odds of positive
-- among positive and negative rows, so its ends are those of that share: p / (1 - p). The net has the
-- adjusted Wald interval of a difference of two shares of one sample, with one added to each count (Bonett and
-- Price, Journal of Educational and Behavioral Statistics 37, 2012). All know the counting error only, not the
-- model's.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   hour timestamp(3): The hour, UTC
--   topic varchar: The topic
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
--   gap integer: 1 if coverage says that the topic's hour is not whole, else 0
--   verdict varchar: What coverage says of the topic's hour; empty where it has not judged it
--   change varchar: What is new in the topic's hour: rules, sample, models, joined by commas; empty if nothing
WITH sums AS (
  SELECT
    dt,
    hour,
    topic,
    max(gap) AS gap,
    max(verdict) AS verdict,
    max(change) AS change,
    sum(tweets) AS tweets,
    coalesce(sum(judged) FILTER (WHERE measured = 1), 0) AS judged,
    coalesce(sum(judged) FILTER (WHERE measured = 0), 0) AS left_out,
    sum(weighted_negative) FILTER (WHERE measured = 1) AS negative,
    sum(weighted_neutral) FILTER (WHERE measured = 1) AS neutral,
    sum(weighted_positive) FILTER (WHERE measured = 1) AS positive,
    sum(weighted_judged) FILTER (WHERE measured = 1) AS whole,
    sum(weight_squares) FILTER (WHERE measured = 1) AS squares
  FROM opinion
  GROUP BY dt, hour, topic
),
${fragments/intervals}
SELECT
  dt,
  hour,
  topic,
  tweets,
  judged,
  left_out,
  ${fragments/interval_columns},
  gap,
  verdict,
  change
FROM intervals
