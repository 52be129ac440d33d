// Show the OpenAPI document with Swagger UI, served from here.
const place = document.getElementById("swagger-ui");

fetch(place.dataset.document, { credentials: "same-origin" })
  .then((response) => response.json())
  .then((spec) => {
    // This Swagger UI asks for 3.0 by name; what the document uses of 3.1 it shows all the same.
    spec.openapi = "3.0.3";
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
