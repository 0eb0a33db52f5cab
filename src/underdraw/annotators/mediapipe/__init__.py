"""MediaPipe's networks for bodies, hands and faces: the people in a photograph as OpenPose's keypoints."""

from underdraw.annotators.mediapipe.annotator import OpenposeMediapipe

__all__ = ["OpenposeMediapipe"]
