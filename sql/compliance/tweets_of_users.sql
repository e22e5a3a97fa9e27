-- The labeled tweets of some authors, who are named by their pseudonyms.
SELECT DISTINCT tweet_id
FROM all_labeled
WHERE CAST(author_id AS varchar) IN (${authors})
ORDER BY tweet_id
