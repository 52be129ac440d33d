# The model server: TensorFlow Serving with the pushed models in it.
#
#   docker build --tag vouch-model-server .                                   every model under var/serving
#   docker build --tag vouch-model-server --build-arg MODEL=breast_cancer .   that one
#
# A tag can be moved. For production pin what you have tested, by digest: docker buildx imagetools inspect IMAGE
# tells it, and IMAGE=tensorflow/serving:2.20.0@sha256:… as a build argument uses it.
ARG IMAGE=tensorflow/serving:2.20.0
# The image's version is pinned by the default above, which a linter does not look up.
# hadolint ignore=DL3006
FROM ${IMAGE}

COPY --chmod=755 serving/entrypoint.sh serving/healthcheck.sh /usr/local/bin/
COPY --chmod=644 config/prometheus.config config/batching.config /etc/vouch/

# Not found? There is no pushed model of that name yet (`make demo` makes one), or none is released (`python -m serving
# prepare` does that).
ARG MODEL=
COPY --chown=10001:10001 var/serving/${MODEL} /models/${MODEL}
COPY --chown=10001:10001 var/serving/models.config /models/models.config
# What is released of the models that are in the image, at the paths that they have in it; none is an error.
RUN MODEL_NAME=${MODEL} entrypoint.sh --print-config >/models/new.config && mv /models/new.config /models/models.config

# The base image names a model called `model`: here all of them are served, unless one is named when it is run.
ENV MODEL_NAME="" MODEL_BASE_PATH=/models

# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["healthcheck.sh"]
ENTRYPOINT ["entrypoint.sh"]
