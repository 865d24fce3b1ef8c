class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


def make(n):
    return [Point(i, (i, str(i))) for i in range(n)]


def run():
    points = make(3000)
    table = {point.y: point for point in points}
    names = sorted(f"name {point.x}" for point in points)
    return len(table) + len(names)
