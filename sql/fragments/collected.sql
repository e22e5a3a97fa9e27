-- The ids of all tweets that the lake holds and, where it holds them, of their authors; some of them more than
-- once. A line that was cut tells the id too. Of lines there is the address of the object.
SELECT
  json_extract_scalar(line, '$$.data.id') AS tweet,
  json_extract_scalar(line, '$$.data.author_id') AS author,
  "$$path" AS object
FROM all_raw
UNION ALL
SELECT
  -- What search and the stream rejected is the post itself, or X's payload.
  coalesce(
    json_extract_scalar(line, '$$.tweet_id'),
    json_extract_scalar(rejected, '$$.data.id'),
    json_extract_scalar(rejected, '$$.id')
  ),
  coalesce(json_extract_scalar(rejected, '$$.data.author_id'), json_extract_scalar(rejected, '$$.author_id')),
  object
FROM (SELECT "$$path" AS object, json_extract_scalar(line, '$$.line') AS rejected, line FROM all_quarantine)
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL, NULL FROM all_labeled
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL, NULL FROM all_predictions
UNION ALL
SELECT CAST(tweet_id AS varchar), NULL, NULL FROM all_audit
