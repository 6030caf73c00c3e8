# The server alone: no Qt, no compiler, no root. See docs/deploy.md.
FROM python:3.11-slim

# Packages that an authenticator needs, such as ldap3 or pamela: --build-arg AUTHENTICATOR=ldap3
ARG AUTHENTICATOR=""

WORKDIR /opt/tiled-spyde
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY config config
COPY viewer viewer
COPY tiled_spyde tiled_spyde
RUN pip install --no-cache-dir --constraint requirements.lock ".[server]" $AUTHENTICATOR \
    && useradd --uid 10001 --create-home spyde \
    && install -d -o spyde -g spyde /var/lib/tiled-spyde

USER spyde
ENV MPLCONFIGDIR=/tmp HOME=/tmp PYTHONUNBUFFERED=1
EXPOSE 8000
VOLUME /var/lib/tiled-spyde
CMD ["tiled-spyde", "serve", "/data", "--state", "/var/lib/tiled-spyde", "--host", "0.0.0.0"]
