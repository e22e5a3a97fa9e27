-- The ids of all tweets that the lake holds and, where it holds them, of their authors; some of them more than
-- once. A line that was cut tells the id too.
SELECT
  json_extract_scalar(parsable, '$$.data.id') AS tweet,
  json_extract_scalar(parsable, '$$.data.author_id') AS author
FROM (
  SELECT
    ${fragments/parsable} AS parsable
  FROM all_raw
)
UNION ALL
SELECT tweet, author FROM (${fragments/rejected})
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL FROM all_labeled
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL FROM all_predictions
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL FROM all_audit
