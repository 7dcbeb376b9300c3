# The portal's image: one image for every service of docker-compose.yml; the command says which.
FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=pkiportal.settings.production
WORKDIR /srv/portal
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
# Named one by one, as in .dockerignore: a file that lies beside them (secrets, a dump) is never copied.
COPY manage.py .
COPY pkiportal/ pkiportal/
COPY db/ db/
COPY audit/ audit/
COPY keys/ keys/
COPY policy/ policy/
COPY certs/ certs/
COPY templates/ templates/
COPY static/ static/
RUN groupadd --system --gid 10001 portal && useradd --system --uid 10001 --gid 10001 portal && mkdir -p /srv/static /srv/audit && chown portal /srv/static /srv/audit
USER portal
EXPOSE 8000
CMD ["gunicorn", "pkiportal.wsgi:application", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "65"]
