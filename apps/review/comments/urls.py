"""Comments, mentions and the history of a question."""

from django.urls import path

from apps.review.comments import views

urlpatterns = [
    path("runs/<int:run_id>/questions/<str:uid>/history/", views.history, name="question_history"),
    path("runs/<int:run_id>/questions/<str:uid>/comment/", views.comment, name="comment"),
    path("comments/<int:comment_id>/resolve/", views.comment_resolve, name="comment_resolve"),
    path("mentions/", views.mentions, name="mentions"),
]
