-- Lines, tweets and those that only search brought, by topic and hour.
SELECT
  topic,
  dt || 'T' || hour AS window,
  count(tweet_id) AS lines,
  count(DISTINCT tweet_id) AS ids,
  count(DISTINCT tweet_id) - count(DISTINCT CASE WHEN source = 'stream' THEN tweet_id END) AS recovered
FROM raw_tweets
WHERE dt IN (${days}) AND dt || 'T' || hour IN (${windows})
GROUP BY 1, 2
