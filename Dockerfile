# Astro's image: `astro dev start`, `astro deploy`. The distribution "-base" copies nothing by itself; the other
# one installs requirements.txt before constraints.txt, which it names, is there.
FROM astrocrpublic.azurecr.io/runtime:3.3-7-python-3.12-base

USER root
COPY packages.txt .
RUN /usr/local/bin/install-system-packages
COPY requirements.txt constraints.txt ./
RUN /usr/local/bin/install-python-dependencies
USER astro
COPY --chown=astro:0 . .
# The triggerer, too, imports include/ (https://github.com/apache/airflow/issues/65455).
ENV PYTHONPATH=/usr/local/airflow GX_ANALYTICS_ENABLED=false
