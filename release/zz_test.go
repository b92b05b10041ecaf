package release
import ("testing";"os")
func TestZZ(t *testing.T){
 o,_ := FromEnvironment("/tmp/co"); o.Output="/tmp/co/_output"; o.Cache="/tmp/co/.cache"
 m,err:=Assemble(t.Context(),o); if err!=nil {t.Fatal(err)}
 PrintRelease(os.Stdout,m)
}
