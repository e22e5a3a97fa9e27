-- The ids of all collected tweets and of their authors, of raw and of quarantine, some of them more than once.
SELECT
  CAST(tweet_id AS varchar) AS tweet,
  author_id AS author
FROM raw_tweets
WHERE dt IN (${days})
UNION ALL
SELECT
  tweet_id,
  json_extract_scalar(line, '$$.data.author_id')
FROM quarantined_lines
WHERE dt IN (${days})
