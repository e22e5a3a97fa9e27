-- The verdicts, and in which states the hour's gaps are.
SELECT
  topic,
  hour AS window,
  verdict,
  array_join(array_sort(array_distinct(transform(gaps, gap -> gap.state))), ' ') AS gap_states
FROM coverage
WHERE dt IN (${days}) AND hour IN (${windows})
