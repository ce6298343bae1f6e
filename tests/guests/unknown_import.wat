(module
  (import "nobody" "has_this" (func))
  (func (export "_start")))
