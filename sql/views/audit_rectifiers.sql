-- What the audit teaches: how what people say of the drawn tweets relates to the model's probabilities, by topic
-- and month, and of these also by language and by country. A rectified share is
-- slope * mean probability + offset: prediction-powered inference with power tuning (PPI++: A. Angelopoulos,
-- J. Duchi, T. Zrnic, arXiv 2311.01453), where y is what people say and p the probability:
--
--   offset = mean(y - slope * p) over the audited tweets, each weighted by 100 / sample / chance
--   slope = the one that makes the offset's variance smallest, kept within 0 and 1
--   error = root of the offset's variance, which is that of a stratified sample from the tweets there are; that
--     these are a sample of their own is added where shares are shown
--
-- Tweets that were drawn and not judged (or of which nobody can tell) count as if they were like those judged of
-- their stratum. The error is no smaller than 1.5 / audited, so that a 95 % interval holds what n tweets
-- without any such case leave open (the rule of three). docs/truth.md has the whole method.
--
-- Columns:
--   dt varchar: First day of the month, UTC, yyyy-MM-dd
--   topic varchar: The topic
--   engine varchar: The model that labeled
--   scope varchar: topic, language or country: what the row is about; a topic's row knows only the languages
--     that the model was measured on
--   member varchar: The language or country; empty for the topic
--   drawn bigint: Tweets drawn
--   audited bigint: Tweets of them that people judged
--   negative_slope double: Slope of the share of negative tweets, 0 to 1
--   negative_offset double: Offset of the share of negative tweets
--   negative_error double: Standard error of that offset
--   positive_slope double: Slope of the share of positive tweets, 0 to 1
--   positive_offset double: Offset of the share of positive tweets
--   positive_error double: Standard error of that offset
--   net_error double: Standard error of the difference of both offsets
--   people_negative double: Share of negative tweets by the audited tweets alone, 0 to 1
--   people_positive double: Share of positive tweets by the audited tweets alone, 0 to 1
--   people_net_error double: Standard error of their difference, as an estimate of what all tweets are drawn from
WITH people AS (
  SELECT
    tweet_id,
    avg(CASE WHEN judgment = 'Negative' THEN 1e0 ELSE 0e0 END) AS negative,
    avg(CASE WHEN judgment = 'Positive' THEN 1e0 ELSE 0e0 END) AS positive
  FROM audit_judged
  WHERE judgment IN ('Negative', 'Neutral', 'Positive')
  GROUP BY tweet_id
),
-- Each drawn tweet once for its topic, its language and its country.
members AS (
  SELECT
    drawn.dt,
    drawn.topic,
    drawn.engine,
    CAST(scopes.scope AS varchar) AS scope,
    CAST(scopes.member AS varchar) AS member,
    drawn.stratum,
    1e2 / drawn.sample / drawn.chance AS weight,
    drawn.chance,
    drawn.p_negative,
    drawn.p_positive,
    people.negative,
    people.positive
  FROM audit_drawn AS drawn
  LEFT JOIN people ON people.tweet_id = drawn.tweet_id
  CROSS JOIN UNNEST(
    ARRAY['topic', 'language', 'country'], ARRAY['', drawn.lang, drawn.country_code]
  ) AS scopes (scope, member)
  WHERE drawn.measured = 1 OR scopes.scope = 'language'
),
strata AS (
  SELECT
    *,
    count(*) OVER whole AS drawn,
    count(negative) OVER stratum AS judged,
    weight * sum(weight) OVER stratum
      / nullif(sum(CASE WHEN negative IS NOT NULL THEN weight END) OVER stratum, 0e0) AS share
  FROM members
  WINDOW
    whole AS (PARTITION BY dt, topic, engine, scope, member),
    stratum AS (PARTITION BY dt, topic, engine, scope, member, stratum)
),
means AS (
  SELECT
    *,
    sum(share * negative) OVER stratum / sum(share) OVER stratum AS own_negative,
    sum(share * positive) OVER stratum / sum(share) OVER stratum AS own_positive,
    sum(share * p_negative) OVER stratum / sum(share) OVER stratum AS own_p_negative,
    sum(share * p_positive) OVER stratum / sum(share) OVER stratum AS own_p_positive,
    sum(share * negative) OVER whole / sum(share) OVER whole AS mean_negative,
    sum(share * positive) OVER whole / sum(share) OVER whole AS mean_positive,
    sum(share * p_negative) OVER whole / sum(share) OVER whole AS mean_p_negative,
    sum(share * p_positive) OVER whole / sum(share) OVER whole AS mean_p_positive
  FROM strata
  WHERE negative IS NOT NULL
  WINDOW
    whole AS (PARTITION BY dt, topic, engine, scope, member),
    stratum AS (PARTITION BY dt, topic, engine, scope, member, stratum)
),
-- What differs from the stratum's mean; one tweet alone has none, and is compared with the whole. What was drawn
-- for certain leaves nothing open (the finite population correction).
deviations AS (
  SELECT
    *,
    (1 - chance) * share * share * CASE WHEN judged > 1 THEN judged / (judged - 1e0) ELSE 1e0 END AS square,
    negative - CASE WHEN judged > 1 THEN own_negative ELSE mean_negative END AS y_negative,
    positive - CASE WHEN judged > 1 THEN own_positive ELSE mean_positive END AS y_positive,
    p_negative - CASE WHEN judged > 1 THEN own_p_negative ELSE mean_p_negative END AS f_negative,
    p_positive - CASE WHEN judged > 1 THEN own_p_positive ELSE mean_p_positive END AS f_positive
  FROM means
),
sums AS (
  SELECT
    dt,
    topic,
    engine,
    scope,
    member,
    max(drawn) AS drawn,
    count(*) AS audited,
    sum(share) AS whole,
    max(mean_negative) AS mean_negative,
    max(mean_positive) AS mean_positive,
    max(mean_p_negative) AS mean_p_negative,
    max(mean_p_positive) AS mean_p_positive,
    sum(square / nullif(1 - chance, 0e0) * (y_positive - y_negative) * (y_positive - y_negative)) AS people_net,
    sum(square * y_negative * y_negative) AS yn_yn,
    sum(square * y_positive * y_positive) AS yp_yp,
    sum(square * y_negative * y_positive) AS yn_yp,
    sum(square * y_negative * f_negative) AS yn_fn,
    sum(square * y_positive * f_positive) AS yp_fp,
    sum(square * y_negative * f_positive) AS yn_fp,
    sum(square * y_positive * f_negative) AS yp_fn,
    sum(square * f_negative * f_negative) AS fn_fn,
    sum(square * f_positive * f_positive) AS fp_fp,
    sum(square * f_negative * f_positive) AS fn_fp
  FROM deviations
  GROUP BY dt, topic, engine, scope, member
),
slopes AS (
  SELECT
    *,
    greatest(0e0, least(1e0, coalesce(yn_fn / nullif(fn_fn, 0e0), 0e0))) AS n,
    greatest(0e0, least(1e0, coalesce(yp_fp / nullif(fp_fp, 0e0), 0e0))) AS p
  FROM sums
),
variances AS (
  SELECT
    *,
    yn_yn - 2 * n * yn_fn + n * n * fn_fn AS negative_variance,
    yp_yp - 2 * p * yp_fp + p * p * fp_fp AS positive_variance,
    yn_yp - p * yn_fp - n * yp_fn + n * p * fn_fp AS covariance
  FROM slopes
)
SELECT
  dt,
  topic,
  engine,
  scope,
  member,
  drawn,
  audited,
  n AS negative_slope,
  mean_negative - n * mean_p_negative AS negative_offset,
  greatest(sqrt(greatest(negative_variance, 0e0)) / whole, 1.5e0 / audited) AS negative_error,
  p AS positive_slope,
  mean_positive - p * mean_p_positive AS positive_offset,
  greatest(sqrt(greatest(positive_variance, 0e0)) / whole, 1.5e0 / audited) AS positive_error,
  greatest(
    sqrt(greatest(negative_variance + positive_variance - 2 * covariance, 0e0)) / whole, 1.5e0 / audited
  ) AS net_error,
  mean_negative AS people_negative,
  mean_positive AS people_positive,
  sqrt(coalesce(people_net, 0e0)) / whole AS people_net_error
FROM variances
