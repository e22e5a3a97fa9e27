-- From sums (negative, neutral, positive, whole: sums of weights; squares: of squared weights) to intervals:
-- p, n, low and high of the shares of negative, neutral and positive, and of positive among the decided; and
-- middle and margin of the net. Which formulas these are, views/opinion_by_hour.sql says.
shares AS (
  SELECT
    *,
    -- Negative, neutral and positive among the judged; positive among positive and negative.
    ARRAY[
      negative / nullif(whole, 0),
      neutral / nullif(whole, 0),
      positive / nullif(whole, 0),
      positive / nullif(negative + positive, 0)
    ] AS p,
    transform(
      ARRAY[whole, whole, whole, negative + positive], part -> part * whole / nullif(squares, 0)
    ) AS n
  FROM sums
),
intervals AS (
  SELECT
    *,
    zip_with(
      p,
      n,
      (p, n) -> greatest(
        0e0,
        (p + 1.9207294103470618e0 / n - sqrt(3.8414588206941236e0 / n * (p * (1 - p) + 0.9603647051735309e0 / n)))
          / (1 + 3.8414588206941236e0 / n)
      )
    ) AS low,
    zip_with(
      p,
      n,
      (p, n) -> least(
        1e0,
        (p + 1.9207294103470618e0 / n + sqrt(3.8414588206941236e0 / n * (p * (1 - p) + 0.9603647051735309e0 / n)))
          / (1 + 3.8414588206941236e0 / n)
      )
    ) AS high,
    (p[3] - p[1]) * n[1] / (n[1] + 2) AS middle,
    1.959963984540054e0 * sqrt(
      ((p[3] + p[1]) * n[1] + 2) / power(n[1] + 2, 2) - power((p[3] - p[1]) * n[1], 2) / power(n[1] + 2, 3)
    ) AS margin
  FROM shares
)
