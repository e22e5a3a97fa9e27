-- Labeled rows, tweets and sentiments, by topic and hour.
SELECT
  topic,
  date_format(ts, '%Y-%m-%dT%H') AS window,
  count(*) AS lines,
  count(DISTINCT tweet_id) AS ids,
  count_if(sentiment = 'Negative') AS negative,
  count_if(sentiment = 'Neutral') AS neutral,
  count_if(sentiment = 'Positive') AS positive,
  count_if(sentiment IS NULL) AS unlabeled
FROM labeled
WHERE dt IN (${days}) AND date_format(ts, '%Y-%m-%dT%H') IN (${windows})
GROUP BY 1, 2
