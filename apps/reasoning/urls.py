"""Questions and paths as they were answered and judged."""

from django.urls import path

from apps.reasoning.views import desk, paths, questions

urlpatterns = [
    path("questions/", questions.questions, name="questions"),
    path("questions/<str:uid>/", desk.question, name="question"),
    path("runs/<int:run_id>/questions/<str:uid>/", desk.run_question, name="run_question"),
    path("paths/", paths.paths, name="paths"),
    path("runs/<int:run_id>/paths/<int:path_id>/", paths.path, name="path"),
]
