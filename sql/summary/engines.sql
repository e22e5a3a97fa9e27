-- Labeled rows by topic, hour and the models that made them; none where none was asked.
SELECT
  topic,
  date_format(ts, '%Y-%m-%dT%H') AS window,
  coalesce(sentiment_engine, 'none') AS sentiment,
  coalesce(translation_engine, 'none') AS translation,
  count(*) AS ids
FROM labeled
WHERE dt IN (${days}) AND date_format(ts, '%Y-%m-%dT%H') IN (${windows})
GROUP BY 1, 2, 3, 4
