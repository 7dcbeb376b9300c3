# The portal's image: one image for web, worker, ca-api and beat; the command says which.
FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=pkiportal.settings.production
WORKDIR /srv/portal
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN useradd --system --uid 10001 portal && mkdir -p /srv/static && chown portal /srv/static
USER portal
EXPOSE 8000
CMD ["gunicorn", "pkiportal.wsgi:application", "--bind", "0.0.0.0:8000", "--worker-class", "pkiportal.even_worker.EvenWorker", "--workers", "2", "--threads", "8"]
