-- How often the champion that Databricks trained gives a tweet the sentiment that its label has.
-- Weights, effective n and intervals are those of opinion_by_hour.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   topic varchar: The topic
--   lang varchar: The language that X names
--   measured integer: 1 if the sentiment model that labeled was measured on this language, else 0
--   model varchar: The champion that predicted, such as v3
--   compared bigint: Judged rows for which it has a prediction
--   agreed bigint: Those of them for which it predicts the same sentiment
--   n double: Effective number of compared rows
--   agreement double: Share that agrees, corrected for the sample, 0 to 1
--   agreement_low double: Lower end of its 95 % interval
--   agreement_high double: Upper end of its 95 % interval
WITH sums AS (
  SELECT
    dt,
    topic,
    lang,
    measured,
    model,
    sum(compared) AS compared,
    sum(agreed) AS agreed,
    sum(weight * agreed) / sum(weight * compared) AS p,
    power(sum(weight * compared), 2) / sum(weight * weight * compared) AS n
  FROM opinion
  WHERE compared > 0
  GROUP BY dt, topic, lang, measured, model
),
wilson AS (
  SELECT
    *,
    (p + 1.9207294103470618e0 / n) / (1 + 3.8414588206941236e0 / n) AS middle,
    sqrt(3.8414588206941236e0 * (p * (1 - p) + 0.9603647051735309e0 / n) / n)
      / (1 + 3.8414588206941236e0 / n) AS half
  FROM sums
)
SELECT
  dt,
  topic,
  lang,
  measured,
  model,
  compared,
  agreed,
  n,
  p AS agreement,
  greatest(middle - half, 0e0) AS agreement_low,
  least(middle + half, 1e0) AS agreement_high
FROM wilson
