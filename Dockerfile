# A server for one model: POST /invocations, GET /ping on port 5002 (docs/serving.md).
#
#   cp -r <folder of an MLflow model, with its MLmodel> model
#   docker build -t emotion-model .      # --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of processor builds> saves 4 GB
#   docker run --rm -p 127.0.0.1:5002:5002 emotion-model
FROM python:3.12-slim
RUN apt-get update && apt-get install -y --no-install-recommends ffmpeg libsndfile1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
# the packages that the model names, before the model, so that they are cached
COPY model/requirements.txt .
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY emotion_lightning emotion_lightning
COPY experiments experiments
RUN pip install --no-cache-dir .
COPY model model
RUN useradd --create-home server
USER server
WORKDIR /home/server
EXPOSE 5002
# inside the container only; the address that others can reach is chosen by `docker run -p`
CMD ["emotion-lightning", "serve", "--model", "/app/model", "--host", "0.0.0.0"]
