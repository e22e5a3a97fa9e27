-- One day of opinion_hourly. ${measured} are the sentiment models' engines, each with a language that it was
-- measured on (such as 'e5-0123 de'), ${measured_translations} the same of the translators; a translated tweet
-- is measured where its translator was on the tweet's language, and its sentiment model on English. ${model} is
-- the champion whose predictions are compared with the labels; where there is none, no partition has its name.
-- Scores are added up as decimals: a floating-point sum would depend on the order in which the engine reads them.
SELECT
  date_trunc('hour', labeled.ts) AS hour,
  labeled.topic,
  coalesce(nullif(labeled.lang, ''), 'und') AS lang,
  coalesce(nullif(labeled.country_code, ''), '--') AS country_code,
  ${fragments/measured_language} AS measured,
  -- A row that came without a usable sample stands for itself only.
  CASE WHEN labeled.sample BETWEEN 1 AND 100 THEN labeled.sample ELSE 100 END AS sample,
  coalesce(labeled.rule_hash, '') AS rule_hash,
  coalesce(labeled.sentiment_engine, 'none') AS engine,
  coalesce(labeled.translation_engine, 'none') AS translation_engine,
  count(*) AS tweets,
  count(labeled.sentiment) AS judged,
  count_if(labeled.sentiment = 'Negative') AS negative,
  count_if(labeled.sentiment = 'Neutral') AS neutral,
  count_if(labeled.sentiment = 'Positive') AS positive,
  coalesce(
    CAST(sum(CAST(labeled.score AS decimal(10, 9))) FILTER (WHERE labeled.sentiment IS NOT NULL) AS double), 0e0
  ) AS score_sum,
  count_if(labeled.sentiment IS NOT NULL AND predictions.sentiment IS NOT NULL) AS compared,
  count_if(labeled.sentiment = predictions.sentiment) AS agreed,
  coalesce(max(predictions.model), '') AS model,
  coalesce(
    CAST(sum(CAST(labeled.p_negative AS decimal(10, 9))) FILTER (WHERE labeled.sentiment IS NOT NULL) AS double), 0e0
  ) AS p_negative_sum,
  coalesce(
    CAST(sum(CAST(labeled.p_positive AS decimal(10, 9))) FILTER (WHERE labeled.sentiment IS NOT NULL) AS double), 0e0
  ) AS p_positive_sum
FROM labeled
LEFT JOIN predictions
  ON predictions.model = ${model}
  AND predictions.dt = ${day}
  AND predictions.topic = labeled.topic
  AND predictions.tweet_id = labeled.tweet_id
WHERE labeled.dt = ${day}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
