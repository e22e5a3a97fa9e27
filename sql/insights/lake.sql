-- What the aggregates of these days must add up to.
SELECT
  dt,
  topic,
  count(*) AS tweets,
  count(sentiment) AS judged,
  count_if(sentiment = 'Negative') AS negative,
  count_if(sentiment = 'Neutral') AS neutral,
  count_if(sentiment = 'Positive') AS positive
FROM labeled
WHERE dt IN (${days})
GROUP BY dt, topic
ORDER BY dt, topic
