-- One day of mix: the tweets with a sentiment by what a rectifier depends on. A row that came without a usable
-- sample stands for itself only, as in insights/opinion.sql. Posts are added up by sample, so that the engine's
-- order of reading does not show. Agreement comes from the day's aggregates, which know the champion.
WITH tweets AS (
  SELECT
    topic,
    coalesce(sentiment_engine, 'none') AS engine,
    CASE WHEN sample BETWEEN 1 AND 100 THEN sample ELSE 100 END AS sample,
    coalesce(nullif(lang, ''), 'und') AS lang,
    coalesce(nullif(country_code, ''), '--') AS country_code,
    coalesce(source, '--') AS source,
    CAST(least(CAST(floor(p_negative * 10) AS integer), 9) AS varchar) AS negative,
    CAST(least(CAST(floor(p_positive * 10) AS integer), 9) AS varchar) AS positive
  FROM labeled
  WHERE dt = ${day}
    AND sentiment IS NOT NULL
),
bins AS (
  SELECT
    tweets.topic,
    tweets.engine,
    CAST(bins.dimension AS varchar) AS dimension,
    CAST(bins.bin AS varchar) AS bin,
    tweets.sample,
    count(*) AS tweets
  FROM tweets
  CROSS JOIN UNNEST(
    ARRAY['language', 'country', 'source', 'negative', 'positive'],
    ARRAY[lang, country_code, source, negative, positive]
  ) AS bins (dimension, bin)
  GROUP BY 1, 2, 3, 4, 5
  UNION ALL
  SELECT
    opinion_hourly.topic,
    opinion_hourly.engine,
    CAST('agreement' AS varchar) AS dimension,
    CAST(answers.answer AS varchar) AS bin,
    opinion_hourly.sample,
    sum(answers.tweets) AS tweets
  FROM opinion_hourly
  CROSS JOIN UNNEST(
    ARRAY['agreed', 'disagreed'], ARRAY[agreed, compared - agreed]
  ) AS answers (answer, tweets)
  WHERE opinion_hourly.dt = ${day}
  GROUP BY 1, 2, 3, 4, 5
)
SELECT
  topic,
  engine,
  dimension,
  bin,
  CAST(sum(tweets) AS bigint) AS tweets,
  CAST(sum(CAST(tweets AS decimal(20, 6)) * 100 / sample) AS double) AS posts
FROM bins
WHERE tweets > 0
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
