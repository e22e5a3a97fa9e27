-- How many tweets and users the lake holds, to some percent.
SELECT
  approx_distinct(tweet) AS tweets,
  approx_distinct(author) AS users
FROM (
  ${fragments/collected}
)
