-- What the dashboards count, and how many of it the champion has predicted, by topic and hour.
SELECT
  topic,
  date_format(hour, '%Y-%m-%dT%H') AS window,
  sum(tweets) AS tweets,
  sum(judged) AS judged,
  sum(compared) AS predicted,
  sum(agreed) AS agreed
FROM opinion_hourly
WHERE dt IN (${days}) AND date_format(hour, '%Y-%m-%dT%H') IN (${windows})
GROUP BY 1, 2
