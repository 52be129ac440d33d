// Show the OpenAPI document with Swagger UI, served from here.
const place = document.getElementById("swagger-ui");

fetch(place.dataset.document, { credentials: "same-origin" })
  .then((response) => response.json())
  .then((spec) => {
    window.SwaggerUIBundle({
      spec,
      domNode: place,
      deepLinking: true,
      defaultModelsExpandDepth: 0,
      docExpansion: "list",
      validatorUrl: null,
      presets: [window.SwaggerUIBundle.presets.apis],
    });
  });
